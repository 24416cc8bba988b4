"""What of `Suite` says yes or no: judges by name, and cascades of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from polymodal.catalog.names import full_name, is_generator_name
from polymodal.errors import UsageError
from polymodal.suite_parts import SuiteParts

if TYPE_CHECKING:
    from polymodal.models.describing import Captioner
    from polymodal.runtime.judging import Judge
    from polymodal.runtime.texts import TextVectors
    from polymodal.tasks.cascade import CascadeRun, Fitted
    from polymodal.tasks.cascade_file import Cascade, Tier
    from polymodal.tasks.policy import Policy

__all__ = ["JudgingVerbs", "OpenCascade"]


@dataclass(frozen=True)
class OpenCascade:
    """A cascade with the models of its tiers; see `Suite.cascade`."""

    cascade: Cascade
    judges: tuple[Judge, ...]

    def run(self, inputs: Iterable[Any] | str | os.PathLike[str]) -> CascadeRun:
        """Decide every case: iterate over the decisions; `.report` then says what they took.

        Args:
            inputs: the path of a table (CSV, JSONL: picture, text, and a label if there is one);
                or pictures, `(picture, text)` or `(picture, text, label)`, lazily.

        Returns:
            An iterable of `Decision`s, with an `ItemError` in the place of what failed.
        """
        from polymodal.tasks.cascade import CascadeRun
        from polymodal.tasks.cascade_cases import as_cases

        return CascadeRun(self.cascade, self.judges, as_cases(inputs))

    def fit(
        self, data: Iterable[Any] | str | os.PathLike[str], *, target_precision: float = 0.95
    ) -> Fitted:
        """Choose the thresholds on labelled cases; every tier judges every case.

        Args:
            data: as `run` takes it, with a label in every case.
            target_precision: share of a tier's own decisions, of yes and of no, that is to be
                right; a threshold is taken where that holds with 95 % confidence.

        Returns:
            The cascade with thresholds (`save_cascade` writes it), how good it is on cases that
            they were not chosen on, and the cases that failed.

        Raises:
            UsageError: too few cases, a missing label, or a target that cannot be one.
            ItemsFailed: too few cases are left that every tier judged; it names the tiers.
        """
        from polymodal.tasks.cascade import fit_cascade
        from polymodal.tasks.cascade_cases import as_cases, read_cases

        path = data if isinstance(data, str | os.PathLike) else None
        cases = list(as_cases(data)) if path is None else read_cases(path, labelled=True)
        source = "" if path is None else os.path.basename(path)  # noqa: PTH119 - text or path
        return fit_cascade(self.cascade, self.judges, cases, target_precision, source=source)


class JudgingVerbs(SuiteParts):
    """What `Suite` inherits."""

    def cascade(
        self,
        cascade: str | os.PathLike[str] | Cascade,
        *,
        top: str | None = None,
        judges: Mapping[str, Judge] | None = None,
    ) -> OpenCascade:
        """A cascade, ready to run or to be fitted; models load when they are asked.

        Args:
            cascade: one that ships ("listing", "moderation"), a TOML file, or a `Cascade`.
            top: a model that judges what is undecided after all tiers of the file.
            judges: objects that judge in the place of tiers, by the tiers' names.

        Raises:
            UsageError: there is no such cascade, or it is not valid.
        """
        from polymodal.tasks.cascade_file import open_cascade
        from polymodal.tasks.policy import open_policy

        found = open_cascade(cascade)
        found = found if top is None else found.with_top(top)
        policy = open_policy(found.policy) if found.policy else None
        given = dict(judges or {})
        if strange := sorted(given.keys() - {tier.name for tier in found.tiers}):
            raise UsageError(f"the cascade {found.name} has no tier {strange[0]!r}.")
        each = [given.get(tier.name) or self._tier(tier, policy) for tier in found.tiers]
        return OpenCascade(found, tuple(each))

    def judge(self, model: str) -> Judge:
        """What says how well pictures fit texts, by a model's name.

        Args:
            model: "starter" weighs its captioner and its embedder; a generator is asked for yes or
                no; any other embedder gives the probability of `match`.
        """
        from polymodal.models.describing import TextScorer
        from polymodal.tasks.cascade_file import Tier
        from polymodal.tasks.likelihood import LikelihoodJudge

        if model == "starter":
            captioner, texts = self._starter_captioner, self._vectors_of("starter")
            if isinstance(captioner, TextScorer):
                return LikelihoodJudge(captioner, texts, self._picture_limits())
        by: Any = "generator" if is_generator_name(model) else "embedder"
        return self._tier(Tier(name=model, by=by, model=model), None)

    def _tier(self, tier: Tier, policy: Policy | None) -> Judge:
        from polymodal.tasks.judges import (
            GeneratorJudge,
            MatchJudge,
            MeasuredJudge,
            PolicyJudge,
            policy_question,
        )

        limits = self._picture_limits()
        if tier.by == "measured" and policy is not None:
            return MeasuredJudge(policy, limits)
        if tier.by == "generator":
            question = "" if policy is None else policy_question(policy)
            writer = self._writer(tier.model)
            if writer is None:
                raise UsageError(
                    f"the tier {tier.name!r}: {tier.model} is no generator; name one such as"
                    " openai:MODEL, or the folder or hub id of a checkpoint that writes."
                )
            return GeneratorJudge(writer, limits, question, self.cache, self.journal)
        texts = self._vectors_of(tier.model)
        if tier.by == "views":
            from polymodal.models.views import with_views
            from polymodal.runtime.texts import TextVectors

            texts = TextVectors(with_views(texts.embedder))
        return MatchJudge(texts, limits) if policy is None else PolicyJudge(texts, policy, limits)

    def _vectors_of(self, model: str) -> TextVectors:
        """The vectors of a model; of one that is open already, that one."""
        model = full_name(model)
        checks = model == "starter" and is_generator_name(self._model)
        if checks or self._is_own(model):
            return self._checking_vectors()
        if model not in self._opened_vectors:
            from polymodal.catalog.opening import open_embedder
            from polymodal.runtime.texts import TextVectors

            opened = (
                self._starter()
                if model == "starter"
                else open_embedder(
                    model,
                    device=self._device,
                    precision=self._precision(),
                    trust=self._trust,
                )
            )
            self._opened_vectors[model] = TextVectors(self._kept(opened, model))
        return self._opened_vectors[model]

    def _is_own(self, model: str) -> bool:
        """Whether it is the suite's, as a tier needs it: the starter has but one precision."""
        from polymodal.models.precision import AS_IT_IS

        return model == self._model and (model != "starter" or self._precision() == AS_IT_IS)

    @cached_property
    def _opened_vectors(self) -> dict[str, TextVectors]:
        return {}

    @cached_property
    def _starter_captioner(self) -> Captioner:
        """The starter's captioner on its embedder; the suite's own where it is the starter."""
        if self._is_own("starter"):
            return self.captioner()
        from polymodal.catalog.captioners import open_captioner

        embedder = self._vectors_of("starter").embedder
        return self._kept(open_captioner("starter", embedder=embedder), "starter")
