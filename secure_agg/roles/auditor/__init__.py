"""Role *auditor*: ``sums`` checks a sum and says what it proves, ``auditor`` all that a round's evidence holds."""

from secure_agg.roles.auditor.auditor import Auditor as Auditor
from secure_agg.roles.auditor.auditor import verify as verify
from secure_agg.roles.auditor.sums import Verified as Verified
from secure_agg.roles.auditor.sums import check_sum as check_sum
from secure_agg.roles.auditor.sums import record_of as record_of
