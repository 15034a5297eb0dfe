"""Text: words and stems, sentences, and token counts."""
