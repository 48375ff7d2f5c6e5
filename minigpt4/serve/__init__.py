"""One loaded model answering people: the engine and the demo's page on top of it."""
