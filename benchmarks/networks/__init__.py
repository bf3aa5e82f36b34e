"""Backbones, their pretrained weights, what they are fed, and their cached activations.

No method, no data set, no formula of a paper.
"""
