"""One toolkit for images, text, speech, video and documents: the public names, sorted.

Names are imported when they are first used, so that `import polymodal` loads no model library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.choosing.front import select
    from polymodal.errors import (
        Attempt,
        BlankPicture,
        BudgetExceeded,
        CollectionDamaged,
        CollectionError,
        CollectionLocked,
        CollectionNotFound,
        DamagedMedia,
        DamagedWeights,
        FilterSyntaxError,
        InvalidAnswer,
        ItemsFailed,
        MediaError,
        MediaNotFound,
        MediaTooLarge,
        MissingDependency,
        ModelError,
        ModelUnavailable,
        NotEnoughMemory,
        PolicyError,
        PolymodalError,
        SpaceMismatch,
        StorageError,
        TrainingError,
        UnsupportedMedia,
        UsageError,
    )
    from polymodal.media.limits import StreamLimits
    from polymodal.media.pictures import Limits, Together
    from polymodal.models.messages import (
        AudioPart,
        Generation,
        GenerationOptions,
        GeneratorInfo,
        ImagePart,
        Message,
        TextPart,
        VideoPart,
    )
    from polymodal.models.mock import MockEmbedder, MockGenerator
    from polymodal.models.protocols import (
        Calibrated,
        Calibration,
        Embedder,
        FeatureExtractor,
        Generator,
        ModelRequest,
        Priced,
        Reader,
        ReadPage,
        Spoken,
        StreamingGenerator,
        Transcriber,
        Unloadable,
    )
    from polymodal.models.resident import Resident
    from polymodal.results import (
        AddReport,
        Caption,
        CaptionCandidate,
        Classification,
        DuplicateGroup,
        Embedding,
        Embeddings,
        Finding,
        Hit,
        ItemError,
        Match,
        ProbeReport,
        Provenance,
        SearchResult,
        Space,
        Verdict,
    )
    from polymodal.results_answers import Answer, Evidence
    from polymodal.results_documents import Extraction, FieldEvidence, Line, PageInfo, Reading
    from polymodal.results_speech import Scene, SpeechSegment, Timeline, Transcript
    from polymodal.runtime.cache import Cache
    from polymodal.runtime.journal import Journal
    from polymodal.runtime.processes import LoadedModel
    from polymodal.search import Collection
    from polymodal.suite import Suite
    from polymodal.tasks.moderate import Policy
    from polymodal.tasks.probe import Probe
    from polymodal.tasks.receipt import Receipt
    from polymodal.tasks.rules import amount_between, not_in_future, sums_up
    from polymodal.tasks.structured import Structured

__version__ = "0.1.0"

__all__ = [
    "AddReport",
    "Answer",
    "Attempt",
    "AudioPart",
    "BlankPicture",
    "BudgetExceeded",
    "Cache",
    "Calibrated",
    "Calibration",
    "Caption",
    "CaptionCandidate",
    "Classification",
    "Collection",
    "CollectionDamaged",
    "CollectionError",
    "CollectionLocked",
    "CollectionNotFound",
    "DamagedMedia",
    "DamagedWeights",
    "DuplicateGroup",
    "Embedder",
    "Embedding",
    "Embeddings",
    "Evidence",
    "Extraction",
    "FeatureExtractor",
    "FieldEvidence",
    "FilterSyntaxError",
    "Finding",
    "Generation",
    "GenerationOptions",
    "Generator",
    "GeneratorInfo",
    "Hit",
    "ImagePart",
    "InvalidAnswer",
    "ItemError",
    "ItemsFailed",
    "Journal",
    "Limits",
    "Line",
    "LoadedModel",
    "Match",
    "MediaError",
    "MediaNotFound",
    "MediaTooLarge",
    "Message",
    "MissingDependency",
    "MockEmbedder",
    "MockGenerator",
    "ModelError",
    "ModelRequest",
    "ModelUnavailable",
    "NotEnoughMemory",
    "PageInfo",
    "Policy",
    "PolicyError",
    "PolymodalError",
    "Priced",
    "Probe",
    "ProbeReport",
    "Provenance",
    "ReadPage",
    "Reader",
    "Reading",
    "Receipt",
    "Resident",
    "Scene",
    "SearchResult",
    "Space",
    "SpaceMismatch",
    "SpeechSegment",
    "Spoken",
    "StorageError",
    "StreamLimits",
    "StreamingGenerator",
    "Structured",
    "Suite",
    "TextPart",
    "Timeline",
    "Together",
    "TrainingError",
    "Transcriber",
    "Transcript",
    "Unloadable",
    "UnsupportedMedia",
    "UsageError",
    "Verdict",
    "VideoPart",
    "amount_between",
    "not_in_future",
    "select",
    "sums_up",
]

_ELSEWHERE = {
    "Answer": "results_answers",
    "AudioPart": "models.messages",
    "Cache": "runtime.cache",
    "Calibrated": "models.protocols",
    "Calibration": "models.protocols",
    "Collection": "search",
    "Embedder": "models.protocols",
    "Extraction": "results_documents",
    "Evidence": "results_answers",
    "FeatureExtractor": "models.protocols",
    "FieldEvidence": "results_documents",
    "Generation": "models.messages",
    "GenerationOptions": "models.messages",
    "Generator": "models.protocols",
    "GeneratorInfo": "models.messages",
    "ImagePart": "models.messages",
    "Journal": "runtime.journal",
    "Limits": "media.pictures",
    "Line": "results_documents",
    "LoadedModel": "runtime.processes",
    "Message": "models.messages",
    "MockEmbedder": "models.mock",
    "MockGenerator": "models.mock",
    "ModelRequest": "models.protocols",
    "PageInfo": "results_documents",
    "Policy": "tasks.moderate",
    "Priced": "models.protocols",
    "Probe": "tasks.probe",
    "ReadPage": "models.protocols",
    "Reader": "models.protocols",
    "Reading": "results_documents",
    "Receipt": "tasks.receipt",
    "Resident": "models.resident",
    "Scene": "results_speech",
    "SpeechSegment": "results_speech",
    "Spoken": "models.protocols",
    "StreamLimits": "media.limits",
    "StreamingGenerator": "models.protocols",
    "Structured": "tasks.structured",
    "Suite": "suite",
    "TextPart": "models.messages",
    "Timeline": "results_speech",
    "Together": "media.pictures",
    "Transcriber": "models.protocols",
    "Transcript": "results_speech",
    "Unloadable": "models.protocols",
    "VideoPart": "models.messages",
    "amount_between": "tasks.rules",
    "not_in_future": "tasks.rules",
    "select": "choosing.front",
    "sums_up": "tasks.rules",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'polymodal' has no attribute {name!r}")
    for module in (_ELSEWHERE[name],) if name in _ELSEWHERE else ("errors", "results"):
        found = getattr(import_module(f"polymodal.{module}"), name, None)
        if found is not None:
            globals()[name] = found
            return found
    raise AttributeError(f"module 'polymodal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
