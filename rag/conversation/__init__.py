"""Conversations: kept, with follow-up questions understood and earlier evidence at hand."""

from rag.conversation.conversation import Conversation
from rag.conversation.store import ConversationInfo, ConversationStore, Turn

__all__ = ["Conversation", "ConversationInfo", "ConversationStore", "Turn"]
