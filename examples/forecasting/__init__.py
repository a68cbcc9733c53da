"""How much electricity will a house use: N-BEATS and TCN on household power, windows made on Spark. See README.md."""
