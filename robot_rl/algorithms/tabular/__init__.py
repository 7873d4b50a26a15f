"""Maximum-entropy reinforcement learning on finite problems, exactly: the truth that learnt values are held against.

- `mdp`: finite Markov decision processes
- `values`: soft and hard values, evaluation, policy iteration, value iteration, Boltzmann policies
- `composition`: averaging skills with its bounds, the divergence correction, generalised policy improvement
- `goals`: tasks that differ only in what their ends are worth: OR of soft values, Boolean algebra of goal values
"""
