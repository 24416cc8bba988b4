"""Media: opening what users have, safely. Knows nothing of models."""
