"""How positive is a sentence: TextCNN and a transformer encoder on rated texts, trained by Spark. See README.md."""
