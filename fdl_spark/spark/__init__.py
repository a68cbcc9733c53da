"""What training asks of Spark: sessions and Java, jobs and broadcasts, what failures mean, what is left behind."""
