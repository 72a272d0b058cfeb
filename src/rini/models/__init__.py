"""Names of models: aliases, what a name means, and the lists of the models that a user's keys can reach."""
