"""The starter's receipt model: from lines of text to company, address, date and total."""
