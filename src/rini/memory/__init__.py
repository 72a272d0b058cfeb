"""What is kept beside the conversation and goes to the model with it: facts, rules, summaries, of one session or of all."""
