"""Kubernetes quantities, such as 500m and 2Gi, as numbers; pure.

Written here because `kubernetes.utils.quantity` would bring in the whole generated Kubernetes client. The grammar is
that of apimachinery's `resource.Quantity`, except that an exponent has at most two digits: a larger one is a typing
error, and calculating with it can take minutes.
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?)(n|u|m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?")
_FACTORS: dict[str | None, Decimal] = {None: Decimal(1)}
_FACTORS |= {unit: Decimal(1000) ** -power for power, unit in enumerate("mun", 1)}
_FACTORS |= {unit: Decimal(1000**power) for power, unit in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)}


def parse_quantity(text: str) -> Decimal:
    """Converts a quantity to the number of CPUs, bytes or devices: 500m is 0.5, 1Gi is 2**30.

    Raises:
        ValueError: `text` is not a quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError("not a Kubernetes quantity; allowed: a value such as 500m or 2 (CPUs), 512Mi or 4Gi (bytes)")
    return Decimal(match.group(1)) * _FACTORS[match.group(2)]
