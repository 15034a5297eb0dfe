"""Answers over time: a cache of answers, and what has changed since an earlier answer."""

from rag.answers.cache import AnswerCache, CachedAnswer, CachedAnswers, CacheLookup
from rag.answers.changes import AnswerChange, CitationChange, compare_answers
from rag.answers.history import AnswerHistory, EarlierAnswer
from rag.answers.same_meaning import mean_the_same

__all__ = [
    "AnswerCache",
    "AnswerChange",
    "AnswerHistory",
    "CacheLookup",
    "CachedAnswer",
    "CachedAnswers",
    "CitationChange",
    "EarlierAnswer",
    "compare_answers",
    "mean_the_same",
]
