"""A start's facts, as the tests of the hand-over use them."""

from bootsvc.boot.handover import Handover
from bootsvc.formats.boot_status import Area

HANDOVER = Handover(
    area=Area.PRIMARY,
    identity=bytes(range(32)),
    transaction=bytes(range(16)),
    is_trial=True,
    root_node="/dev/vda4",
    root_guid="11112222-0000-4000-8000-123456789abc",
    data_node="/dev/vda7",
    data_guid="11112222-0000-4000-8000-123456789abd",
    overlay="volatile",
    init="/sbin/init",
    confirm_limit_s=300,
    slot="b",
)
