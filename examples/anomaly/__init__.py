"""What was unusual: Analytics Zoo's anomaly LSTM on New York's taxis, whose events are known. See README.md."""
