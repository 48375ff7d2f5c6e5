"""Prompts and conversations: how instructions, pictures and answers become one text."""
