"""Examples that a generator is shown before a question: a picture, a question and its answer each.

Notable: few-shot prompting as Flamingo introduced it (Alayrac et al. 2022): the examples stand in
the conversation as turns that were answered already, each with its own picture, so that every
family's own prompt form carries them and nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from polymodal.errors import UsageError
from polymodal.media.hashing import content_of
from polymodal.media.pictures import ImageInput, Limits, open_picture, picture_name
from polymodal.media.tables import path_column, read_rows
from polymodal.models.messages import GeneratorInfo, ImagePart, Message
from polymodal.tasks.answers_json import json_in
from polymodal.tasks.schemas import Schema

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Example", "ExampleInput", "open_examples", "read_examples", "require_fit"]

ExampleInput: TypeAlias = tuple[ImageInput, str, str]
"""A picture, a question about it, and the answer."""


@dataclass(frozen=True, eq=False)
class Example:
    """One example, opened for a generator.

    Attributes:
        sha256: of the picture's content.
        digest: of picture, question and answer together; part of cache keys.
    """

    image: Image.Image
    question: str
    answer: str
    name: str
    sha256: str
    digest: str

    def turns(self) -> list[Message]:
        """What the user asked, and what was answered."""
        shown = ImagePart(self.image, self.sha256, self.name)
        return [Message.user(shown, self.question), Message.assistant(self.answer)]


def open_examples(
    examples: Sequence[ExampleInput], info: GeneratorInfo, limits: Limits
) -> tuple[Example, ...]:
    """Examples with their pictures, for the generator that `info` describes.

    Raises:
        UsageError: the generator takes none, or not so many; or one lacks a part.
        MediaError: a picture cannot be opened.
    """
    if not examples:
        return ()
    pictures = len(examples) + 1
    if not info.few_shot or info.max_media < pictures:
        most = f"{info.max_media} picture(s)" if info.max_media else "no pictures"
        takes = f"takes {most} at once" if info.few_shot else "answers one question at a time"
        raise UsageError(
            f"{info.model} {takes}; {len(examples)} example(s) and the picture that is asked about"
            f" are {pictures}. Leave the examples out, or use a model that takes several pictures:"
            " docs/models.md."
        )
    return tuple(_opened(number, each, info, limits) for number, each in enumerate(examples, 1))


def _opened(number: int, example: ExampleInput, info: GeneratorInfo, limits: Limits) -> Example:
    try:
        source, question, answer = example
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"example {number} has to be three things: a picture, a question and its answer."
        ) from error
    lacking = [
        name
        for name, value in (("picture", source), ("question", question), ("answer", answer))
        if isinstance(value, str) and not value.strip()
    ]
    if lacking:
        raise UsageError(f"example {number} has no {' and no '.join(lacking)}.")
    content = content_of(source)
    picture = open_picture(source, target_px=info.image_size_px, limits=limits)
    return Example(
        image=picture.image,
        question=question.strip(),
        answer=answer.strip(),
        name=picture_name(source),
        sha256=content.sha256,
        digest=content.joined(question.strip(), answer.strip()).sha256,
    )


def require_fit(examples: Sequence[Example], schema: Schema) -> None:
    """Refuse examples whose answers are not the data that is asked for.

    Raises:
        UsageError: naming the example.
    """
    for number, each in enumerate(examples, 1):
        try:
            schema.validate(json_in(each.answer))
        except ValueError as error:
            problem = str(error).partition("\n")[0]
            raise UsageError(
                f"the answer of example {number} does not fit the schema {schema.name}: {problem}."
                " With a schema, answers of examples are JSON that fits it."
            ) from error


def read_examples(path: str | Path) -> list[ExampleInput]:
    """Examples of a CSV, JSON or JSONL table with a column of pictures, `question` and `answer`.

    A relative picture path counts from the table's folder.

    Raises:
        UsageError: there are no rows, or a column is missing.
    """
    rows = read_rows(path)
    if not rows:
        raise UsageError(f"{path} has no examples; a line is: image, question, answer")
    picture = path_column(rows, str(path))
    columns = {key.lower(): key for row in rows for key in row}
    for name in ("question", "answer"):
        if name not in columns:
            raise UsageError(f"{path} has no {name} column: it has {', '.join(columns)}.")
    folder, examples = Path(path).parent, []
    for row in rows:
        name = str(row.get(picture, "")).strip()
        words = [_words(row.get(columns[each], "")) for each in ("question", "answer")]
        examples.append((str(folder / name) if name else "", *words))
    return examples  # type: ignore[return-value]


def _words(value: Any) -> str:
    """A cell as text; data of a JSON table as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
