"""Signatures of versions and of the history: who may move the champion."""
