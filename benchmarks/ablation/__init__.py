"""Does each part of S3-Mamba do something? Eight trainings that differ in nothing else, on held-out images."""
