"""The end of a run: fit on validation data, measure, and write down what came out."""

import platform
import sys
from collections.abc import Mapping
from typing import Any

import torch

import mlc
from mlc.training.checkpoint import load_checkpoint
from mlc.training.dashboard import Dashboard
from mlc.training.evaluation import Evaluation, evaluate, fit_on_validation, predict_split
from mlc.training.job import Job
from mlc.training.loop import Session
from mlc.training.progress import Progress
from mlc.training.run_files import RunFiles, save_classifier
