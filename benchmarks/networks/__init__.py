"""Backbones, their pretrained weights, their inputs, and their cached activations.

No method, no data set, no formula of a paper.
"""
