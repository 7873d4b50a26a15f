"""Train policies for real robots in simulation or on the robot, and deploy them as one ONNX file."""
