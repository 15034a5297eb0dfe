"""Conversations with follow-up questions and evidence from earlier turns, stored in SQLite."""

from rag.conversation.conversation import Conversation
from rag.conversation.store import ConversationInfo, ConversationStore, Turn

__all__ = ["Conversation", "ConversationInfo", "ConversationStore", "Turn"]
