"""Collections of pictures: kept, searched, compared, moved between models."""

from polymodal.search.collection import Collection, CollectionInfo
from polymodal.search.opening import open_collection
from polymodal.search.store import Item, Place, Progress

__all__ = ["Collection", "CollectionInfo", "Item", "Place", "Progress", "open_collection"]
