"""The workloads of the studies that want many of them: generated ones, and recorded traces.

Prompts are some ten thousand tokens long, so that eight instances serve 10 to 40 requests a second
and a few thousand requests last for minutes: shorter runs hide overload behind the bound on
waiting.
"""

import study

REQUESTS = 6000
RECORDED_REQUESTS = 8000
QUICK_REQUESTS = 160

# Families, each with its main knob swept: {family: {label: generator}}.
ZIPF = "zipf:prefix_blocks=12,question_tokens=3500"
FAMILIES = {
    "nothing shared": {"uniform": "uniform:input_tokens=4000"},
    "zipf, prefix in the prompt": {
        "zipf, 1,024 of 9,000": "zipf:prefix_blocks=2,question_tokens=8000",
        "zipf, 3,072 of 9,000": "zipf:prefix_blocks=6,question_tokens=6000",
        "zipf, 6,144 of 9,600": ZIPF,
        "zipf, 9,216 of 10,200": "zipf:prefix_blocks=18,question_tokens=1000",
    },
    "zipf, exponent": {f"zipf, exponent {e}": f"{ZIPF},exponent={e}" for e in (0, 1.6)},
    "zipf, prefixes": {f"zipf, {n} prefixes": f"{ZIPF},prefixes={n}" for n in (50, 2000)},
    "multi-turn, turns": {f"multi-turn, {n} turns": f"multi-turn:turns={n},question_tokens=1500"
                          for n in (1, 2, 4, 8)},
    "rag, exponent": {f"rag, exponent {e}":
                      f"rag:exponent={e},documents=1000,document_blocks=8,question_tokens=1500"
                      for e in (0, 0.9, 1.4)},
    "agents, steps": {f"agents, {n} steps": f"agents:turns={n},question_tokens=1200"
                      for n in (3, 12)},
}
# One or two of each family.
TYPICAL = ["uniform", "zipf, 3,072 of 9,000", "zipf, 6,144 of 9,600", "zipf, exponent 0",
           "multi-turn, 2 turns", "multi-turn, 8 turns", "rag, exponent 0.9", "agents, 12 steps"]
QUICK = ["uniform", "zipf, 6,144 of 9,600"]
RECORDED = {"conversation": study.CONVERSATION, "tool & agent": study.TOOL_AND_AGENT}


def family_of(name):
    return next((family for family, each in FAMILIES.items() if name in each), "recorded")


def workloads(options, chosen=None):
    """{name: arguments of the replay tool}: the chosen ones, else all, and the traces at hand."""
    size = QUICK_REQUESTS if options.quick else REQUESTS
    chosen = QUICK if options.quick else chosen
    made = {name: ["--generate", generator, "--requests", size]
            for each in FAMILIES.values() for name, generator in each.items()
            if chosen is None or name in chosen}
    for name, file in RECORDED.items():
        recorded = study.trace(options, file)
        if recorded:
            made[name] = [*recorded, "--requests", size if options.quick else RECORDED_REQUESTS]
    return made
