"""What is on a photograph: Inception-v1 with BigDL's recipe, trained and evaluated by Spark. See README.md."""
