"""nnU-Net trainers, one a file that is named after the class: nnU-Net finds them by that name.

S3-Mamba is VM-UNet with three additions. The eight rows of the paper's ablation are named by those they have, EnCF,
TCMA and CL in this order: ``nnUNetTrainerVMUNet`` has none of them, ``nnUNetTrainerS3Mamba`` has all three.
"""
