"""Makes the embedded default's data.

Small, complete stand-ins for ViVQA and MVTec AD in their own file forms, and a pre-training corpus.
"""
