# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Pure functions on a recording; they need neither root nor Linux.

- `recording`: the class that users have; its attributes are made by the rest, on demand.
- `run`, `dataframes`, `times`, `names`, `settings`: shared by the rest.
- `model/`: the model of shared subtrees.
- `state/`: mount tables at a moment: replayed in the model, at any time, or at the end.
- `query/`: parts of a recording, the mounts that a text stands for, SQL, comparison.
- `frames/`: propagations, leaks, births, refusals, doublings, timeline; and what was lost.
- `plots/`: pictures.
- `why`, `crosscheck`, `summary`: one mount explained, the model's check, the recording in short.
"""
