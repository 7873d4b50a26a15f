"""Learners. Each file reads like its paper."""
