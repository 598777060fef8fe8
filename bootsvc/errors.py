"""Every error that bootsvc raises on purpose.

    BootsvcError
    |-- FormatError            bytes that are not what they claim to be
    |   |-- TruncatedError         fewer bytes than the format needs (not bad content)
    |   |-- MagicError             another format, or nothing at all
    |   |-- ChecksumError          the CRC does not fit the bytes
    |   `-- FieldError             a field outside its range, or fields that contradict each other
    |-- StorageError           a disk that does not do what it is asked
    |   |-- DeviceError            the kernel reported an I/O error (errno kept)
    |   |-- OutOfBoundsError       an access outside its area (our own bug; nothing is written)
    |   |-- ReadBackError          what was read back is not what was written
    |   |-- LayoutError            a partition is missing, doubled or changed
    |   |   `-- SeveralDisksError      several disks have our partitions: nobody may guess
    |   |-- NoRoomError            a file system has not the room that is needed
    |   |-- NotBootsvcError        not a bootsvc machine, or not clear which disk is meant
    |   |-- DiskBusyError          another program works on the disk and does not end
    |   `-- StatusLostError        no valid copy of the boot-status record
    |-- ImageError             an image that may not be installed; each kind is a class of its own
    |   |-- NoImageError           no footer where an image was expected
    |   |-- IncompleteImageError   bytes are missing
    |   |-- AlteredImageError      bytes differ from the signed digests
    |   |   `-- RottenHereError          of an image on this machine that gave blocks to another
    |   |-- SizeMismatchError      the manifest's sizes contradict each other or the medium
    |   |-- ImageTooLargeError     larger than the area it is meant for
    |   |-- SignatureError         no signature by a trusted key
    |   |-- RetiredKeyError        signed, but by a key that was retired
    |   |-- WrongMachineError      made for another machine type
    |   |-- BelowFloorError        older than the version floor
    |   `-- FailedBeforeError      this very image failed here already
    |-- NetworkError           a network, or a server on it, that does not do what it is asked
    |   |-- AddressError           an address that is written wrongly
    |   |-- NoNetworkError         no wired interface has a link, or nobody gave an address
    |   |-- ConnectionLostError    it cannot be made, breaks or falls silent, again and again
    |   `-- ServerError            an answer that is of no use: refusals, redirects, lengths
    |       `-- NotOnServerError       the server has no such file
    |-- StoreError             an image store that does not do what it is asked
    |   |-- ObjectKeyError         a name that no file in a store can have
    |   |-- NoObjectError          the store has no such file
    |   |-- ObjectTooLargeError    a file of a store that is larger than it may be
    |   |-- StoreAccessError       the store cannot be reached, read or written
    |   |-- StoreBusyError         other publishers wrote first, again and again
    |   |-- StoreDamagedError      what lies in the store does not fit its own signatures
    |   |-- PublishError           a version that cannot be published, or is not there
    |   `-- WrongKeyError          a secret key that the store's root metadata does not name
    |-- FreshnessError         a server's metadata that a machine does not take for the newest
    |   |-- ExpiredMetadataError   it ran out: the server stands still, or is held back
    |   |-- RollbackError          it is older than what this machine has seen
    |   |-- UntrustedMetadataError not signed by the store's keys, or not metadata at all
    |   |-- MixedMetadataError     files that do not belong to one state of the store
    |   |-- ClockNotSetError       this machine's clock cannot be right
    |   `-- NotPublishedError      the store offers no file of that name
    |-- ChainError             a chain of qcow2 files that cannot be used as it is
    |   |-- BrokenChainError       a hole, a cycle, a wrong or foreign parent
    |   |-- UnsupportedDiskError   a qcow2 file of a kind that chains do not take
    |   |-- DiskFileInUseError     a virtual machine, or another program, has the file open
    |   `-- MergeError             what was merged is not what the chain holds
    |-- UpdateError            there is nothing that this machine could be updated to
    |-- SequenceError          a request that the present phase does not allow
    |-- ConfirmRefusedError    the running OS is not the one on trial
    |-- BootError              an image that cannot be handed over to
    |-- SettingsError          an unknown setting, or a value out of range
    |   `-- PasswordError          a password that cannot be one, or cannot be checked
    `-- ToolError              a program that the work needs is missing or failed

Messages name the thing, the place and, as ``hint``, the next step.
"""

from __future__ import annotations


class BootsvcError(Exception):
    """Base of all errors; ``hint`` is the next step for a person, or empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class FormatError(BootsvcError):
    """Bytes that are not what they claim to be."""


class TruncatedError(FormatError):
    """Fewer bytes than the format needs."""


class MagicError(FormatError):
    """The bytes do not begin as this format does."""


class ChecksumError(FormatError):
    """The checksum does not fit the bytes."""


class FieldError(FormatError):
    """A field is outside its range, or contradicts another."""


class StorageError(BootsvcError):
    """A disk that does not do what it is asked."""


class DeviceError(StorageError):
    """The kernel reported an I/O error.

    Attributes:
        device: the device's name.
        operation: read, write or flush.
        errno: the kernel's error number; ``text`` are its words.
    """

    def __init__(self, device: str, operation: str, offset: int, errno: int, text: str) -> None:
        super().__init__(
            f"{device}: {operation} at byte {offset} failed: {text}",
            hint="check cable, medium and kernel log; the disk may be failing",
        )
        self.device = device
        self.operation = operation
        self.errno = errno
        self.text = text


class OutOfBoundsError(StorageError):
    """An access outside its area; nothing was written."""


class ReadBackError(StorageError):
    """What was read back from the medium is not what was written."""


class LayoutError(StorageError):
    """A partition is missing, doubled, too small or changed."""


class SeveralDisksError(LayoutError):
    """Several disks of this machine have our partitions, and nobody may guess which is meant."""


class NoRoomError(StorageError):
    """A file system has not the room that is needed; nothing was kept."""


class NotBootsvcError(StorageError):
    """No disk of this machine has our partitions, or more than one has and none is named."""


class DiskBusyError(StorageError):
    """Another program works on the disk and does not end."""


class StatusLostError(StorageError):
    """Neither copy of the boot-status record is valid."""


class ImageError(BootsvcError):
    """An image that may not be installed or believed."""


class NoImageError(ImageError):
    """There is no footer where an image was expected."""


class IncompleteImageError(ImageError):
    """Bytes of the image are missing."""


class AlteredImageError(ImageError):
    """Bytes of the image differ from its signed digests."""


class RottenHereError(AlteredImageError):
    """Blocks of an image on this machine, wanted for another one, differ from their digests.

    Attributes:
        name: where the image lies that is not to be used.
    """

    def __init__(self, name: str, block: int) -> None:
        super().__init__(
            f"{name}: block {block} cannot be read, or differs from its digest",
            hint="see: bootsvc verify",
        )
        self.name = name


class SizeMismatchError(ImageError):
    """The manifest's sizes contradict each other or the medium."""


class ImageTooLargeError(ImageError):
    """The image is larger than an area it is meant for (S4.18)."""


class SignatureError(ImageError):
    """No signature by a trusted key."""


class RetiredKeyError(SignatureError):
    """Signed only by a key that was retired."""


class WrongMachineError(ImageError):
    """The image is made for another machine type."""


class BelowFloorError(ImageError):
    """The image is older than the version floor."""


class FailedBeforeError(ImageError):
    """This very image failed on this machine already (N18)."""


class NetworkError(BootsvcError):
    """A network, or a server on it, that does not do what it is asked."""


class AddressError(NetworkError):
    """The address of a server or of this machine is written wrongly."""


class NoNetworkError(NetworkError):
    """No wired interface has a link, or nobody gave this machine an address."""


class ConnectionLostError(NetworkError):
    """A connection that cannot be made, breaks or falls silent, however often it is tried."""


class ServerError(NetworkError):
    """A server's answer that is of no use: a refusal, redirects in circles, another length."""


class NotOnServerError(ServerError):
    """The server has no such file, or gives it to nobody (HTTP 404 and 403)."""


class StoreError(BootsvcError):
    """An image store that does not do what it is asked."""


class ObjectKeyError(StoreError):
    """A name that no file in a store can have."""


class NoObjectError(StoreError):
    """The store has no such file."""


class ObjectTooLargeError(StoreError):
    """A file of a store is larger than it may be; it was not read."""


class StoreAccessError(StoreError):
    """The store cannot be reached, read or written."""


class StoreBusyError(StoreError):
    """Other publishers wrote first, again and again; nothing of theirs was undone."""


class StoreDamagedError(StoreError):
    """What lies in the store does not fit its own signatures and digests."""


class PublishError(StoreError):
    """A version that may not be published as it is, or that the store does not have."""


class WrongKeyError(StoreError):
    """A secret key that is missing, or that the store's root metadata does not name."""


class FreshnessError(BootsvcError):
    """A server's metadata that this machine does not take for the newest of its store."""


class ExpiredMetadataError(FreshnessError):
    """The metadata ran out: the server stands still, or somebody holds it back."""


class RollbackError(FreshnessError):
    """The metadata is older than what this machine has seen already."""


class UntrustedMetadataError(FreshnessError):
    """The metadata is not signed by the store's keys, or is no metadata at all."""


class MixedMetadataError(FreshnessError):
    """Files that do not belong to one state of the store, or are not what was signed."""


class ClockNotSetError(FreshnessError):
    """This machine's clock cannot be right, so nothing can be known to be fresh."""


class NotPublishedError(FreshnessError):
    """The store offers no file of that name."""


class ChainError(BootsvcError):
    """A chain of qcow2 files that cannot be used as it is."""


class BrokenChainError(ChainError):
    """A hole, a cycle, a wrong or foreign parent (S2.16, S2.17)."""


class UnsupportedDiskError(ChainError):
    """A qcow2 file of a kind that chains do not take: encrypted, with data elsewhere and so on."""


class DiskFileInUseError(ChainError):
    """A virtual machine, or another program, has the file open."""


class MergeError(ChainError):
    """What was merged is not what the chain holds; nothing was put in place."""


class UpdateError(BootsvcError):
    """There is no version, or not the one that was named, that this machine could be updated to."""


class SequenceError(BootsvcError):
    """A request that the present phase does not allow (S4.16)."""


class ConfirmRefusedError(SequenceError):
    """The running OS is not the one on trial."""


class BootError(BootsvcError):
    """An image that cannot be handed over to."""


class SettingsError(BootsvcError):
    """An unknown setting, or a value out of range."""


class PasswordError(SettingsError):
    """A password that cannot be one, a stored one that is malformed, or none can be checked."""


class ToolError(BootsvcError):
    """A program that the work needs is missing or failed."""
