"""Networks with weights that other people trained: packages of the extra `pretrained` -> gates."""
