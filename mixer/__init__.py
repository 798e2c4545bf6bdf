"""The arithmetic: mixes, plans, schedules, permutations and ratio checks.

Pure: no disk, no network, no clock, no global random numbers. What a step of a training serves is
worked out from the plan and the number of the step, by whoever wants to know:

    ┌────────┐  seal   ┌────────┐  batch(step)   ┌──────────────┐  shard(rank)   ┌──────────┐
    │ Mix    ├────────▶│ Plan   ├───────────────▶│ Batch        ├───────────────▶│ Batch    │
    │ shares │    ▲    │ id     │                │ of the step  │                │ of a rank│
    └────────┘    │    └────────┘                └──────────────┘                └──────────┘
      SourceSnapshot,                ▲               ▲      ▲              ▲
      tokenizer digest      Schedule │   Permutation │      │ RatioCount   │ Dealing
                    position ─▶ source,   source, epoch ─▶  │ checks       │ row ─▶ rank
                                ordinal           example   │ the shares   │

A mix of two sources, sealed and served; 70 % of every prefix is task data, to within a row:

>>> from recollect.mixer.example import Purpose, Role
>>> from recollect.mixer.mix import Mix
>>> from recollect.mixer.plan import SourceSnapshot
>>> from recollect.mixer.sealing import seal
>>> task = {"source": "tickets", "role": "task", "share": "70%"}
>>> general = {"source": "general", "role": "general", "share": "0.3"}
>>> mix = Mix.from_mapping({"name": "support", "batch_size": 10, "num_steps": 1000,
...                         "max_length": 512, "seed": 1, "sources": [task, general]})
>>> held = {name: SourceSnapshot(name=name, role=role, purpose=Purpose.TRAIN, num_examples=99,
...                              content_digest="0" * 64)
...         for name, role in (("tickets", Role.TASK), ("general", Role.GENERAL))}
>>> plan = seal(mix, snapshot_id="first", sources=held, tokenizer_digest="0" * 64)
>>> plan.batch(999).counts(2).tolist()
[7, 3]
>>> [plan.shard(999, rank, 2).counts(2).tolist() for rank in (0, 1)]
[[4, 1], [3, 2]]
"""
