"""Which film will somebody watch next: NeuMF on MovieLens, trained and evaluated by Spark. See README.md."""
