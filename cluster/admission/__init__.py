"""Who starts when a variant is busy: a bounded queue for each variant, by priority and fair between callers."""

from cluster.admission.admission import Admission, Place
from cluster.admission.call import Call
from cluster.admission.gate import Gate

__all__ = ["Admission", "Call", "Gate", "Place"]
