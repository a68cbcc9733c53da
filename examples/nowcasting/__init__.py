"""Where will it rain next: ConvLSTM against persistence and optical flow, in real winds. See README.md."""
