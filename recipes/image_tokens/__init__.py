"""Pictures as codes, and a small model that draws by them: the numbers of docs/image-tokens.md."""
