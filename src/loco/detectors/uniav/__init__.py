"""UniAV (Geng et al., 2024): one net for several tasks, with experts, language-aware classes."""
