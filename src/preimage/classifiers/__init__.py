"""Classifiers: any of them behind one interface, the estimate of their loss, and how they are loaded and trained."""

from __future__ import annotations

from preimage.classifiers.classifier import Classifier as Classifier
from preimage.classifiers.load import load_classifier as load_classifier
from preimage.classifiers.load import load_model as load_model
from preimage.classifiers.load import read_model as read_model
from preimage.classifiers.loss_estimator import LossEstimator as LossEstimator
from preimage.classifiers.model_file import TrainedModel as TrainedModel
