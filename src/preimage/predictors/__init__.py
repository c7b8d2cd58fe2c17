"""Classifiers: any of them behind one face, how large their loss is likely to be, and how they are loaded and trained."""

from __future__ import annotations

from preimage.predictors.load import load_model as load_model
from preimage.predictors.load import load_predictor as load_predictor
from preimage.predictors.load import read_model as read_model
from preimage.predictors.loss_estimator import LossEstimator as LossEstimator
from preimage.predictors.model_file import TrainedModel as TrainedModel
from preimage.predictors.predictor import Predictor as Predictor
