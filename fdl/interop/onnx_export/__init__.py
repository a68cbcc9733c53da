"""Functions of fdl as ONNX models: one function a primitive, by the name of its class, which appends the nodes."""
