"""Every error a person can meet: a stable public code, one sentence of what happened, one of what to do.

Services raise these; pages and commands show `public_text`. Details that help a developer go to the log, never to
the text. `tests/unit/test_errors.py` holds that each code is unique and each text complete.
"""

from typing import ClassVar


class HemaSealError(Exception):
    """Base of all errors that are shown to people.

    Attributes:
        code: stable public code, for example ``IMG-TYPE``.
        text: what happened, in plain words.
        remedy: what the person can do now.
    """

    code: ClassVar[str] = "APP-ERROR"
    text: ClassVar[str] = "Something went wrong and nothing was changed."
    remedy: ClassVar[str] = "Try again; if it happens again, give this code to your administrator."

    def __init__(self, detail: str = "") -> None:
        """Remember `detail`, a safe fact for the person (a file name, a limit), never a secret."""
        super().__init__(detail or self.text)
        self.detail = detail

    @property
    def public_text(self) -> str:
        """Sentence, detail, remedy and code, as shown to a person."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.text}{detail} {self.remedy} [{self.code}]"


class SettingsError(HemaSealError):
    """A setting is missing, wrong or unsafe for the mode that was asked for."""

    code = "APP-SETTINGS"
    text = "The settings do not allow the application to start."
    remedy = "Correct the setting that is named and start again."


class DatabaseUnavailable(HemaSealError):
    """The database did not answer; the transaction was rolled back."""

    code = "APP-DATABASE"
    text = "The database did not answer, and nothing was changed."
    remedy = "Wait a moment and send it again; what you typed or chose is still here."


class NotAuthorised(HemaSealError):
    """The policy does not allow this act to this person."""

    code = "ACC-FORBIDDEN"
    text = "Your account may not do this."
    remedy = "Sign in with an account that may, or ask the person who manages accounts."


class DemoOnly(HemaSealError):
    """The act belongs to the demonstration, and this installation is no demo."""

    code = "APP-DEMO"
    text = "This is part of the demonstration only."
    remedy = "Use an installation in demo mode for it; this one is for real work."


class SignInFailed(HemaSealError):
    """Unknown name, wrong password or inactive account: deliberately not told apart."""

    code = "ACC-SIGNIN"
    text = "The user name or the password is not right."
    remedy = "Check both and try again."


class AccountLocked(HemaSealError):
    """Too many failed attempts."""

    code = "ACC-LOCKED"
    text = "Too many attempts failed, so this is closed for a while."
    remedy = "Wait for the time that is named, then try again."


class SessionEnded(HemaSealError):
    """The session was signed out, revoked or has expired."""

    code = "ACC-SESSION"
    text = "Your session has ended."
    remedy = "Sign in again."


class StepUpNeeded(HemaSealError):
    """The act needs a code of the second factor, entered in this browser a short while ago."""

    code = "ACC-STEPUP"
    text = "This needs a fresh code of your authenticator."
    remedy = "Enter one under Confirm, at the top of the page, then do this again."


class SecondFactorMissing(HemaSealError):
    """The act needs a second factor, and the account has none."""

    code = "ACC-FACTOR"
    text = "This needs a second factor, and your account has none yet."
    remedy = "Set one up under My account, then do this again."


class CodeRefused(HemaSealError):
    """A code of the second factor is wrong, too old, or was used before: deliberately not told apart."""

    code = "ACC-CODE"
    text = "This code does not count."
    remedy = "Wait for the next one that your authenticator shows, and check the clock of its device."


class TooOften(HemaSealError):
    """A limit of how often something may be done was reached; the detail says when it may be done again."""

    code = "APP-OFTEN"
    text = "This was done too often in a short time."
    remedy = "Wait for the time that is named, then try again."


class TooBusy(HemaSealError):
    """As many pictures are being answered as this process takes at once; nothing of this one was stored."""

    code = "APP-BUSY"
    text = "Many people are sending pictures at this moment, and yours was not taken."
    remedy = "Send it again in a minute; your files and your choices are still here."


class RegistrationRefused(HemaSealError):
    """A registration form is incomplete or not acceptable."""

    code = "ACC-REGISTER"
    text = "The account could not be made."
    remedy = "Correct what is named and send the form again."


class ConsentMissing(HemaSealError):
    """The act needs a consent that the patient has not given or has withdrawn."""

    code = "ACC-CONSENT"
    text = "This needs your consent first."
    remedy = "Read the consent under My account and give it if you agree."


class InvalidInput(HemaSealError):
    """A value that a person entered cannot be used."""

    code = "APP-INPUT"
    text = "That entry cannot be used."
    remedy = "Correct it and try again."


class NotFound(HemaSealError):
    """The object does not exist or is not visible to this person (deliberately not told apart)."""

    code = "APP-NOTFOUND"
    text = "That was not found."
    remedy = "Go back to the list and choose again."


class ImageTypeRefused(HemaSealError):
    """The bytes are not one of the accepted image formats, whatever the file is called."""

    code = "IMG-TYPE"
    text = "This file is not an image that can be read."
    remedy = "Send a PNG, JPEG, TIFF, BMP or DICOM image."


class ImageBroken(HemaSealError):
    """The image is truncated or damaged."""

    code = "IMG-BROKEN"
    text = "The image is damaged or incomplete."
    remedy = "Export or copy it again and send the new file."


class ImageTooLarge(HemaSealError):
    """Over the limit of bytes or of pixels (decompression bombs included)."""

    code = "IMG-SIZE"
    text = "The image is larger than what is accepted."
    remedy = "Send a smaller image, for example the cell itself rather than the whole slide."


class CaseTooLarge(HemaSealError):
    """More pictures, or more bytes of them, than one case may hold."""

    code = "IMG-CASE"
    text = "These are more pictures than can be sent at once."
    remedy = "Take some out, or choose smaller ones; you can send the others afterwards."


class ImageRefused(HemaSealError):
    """The quality gate refused the image."""

    code = "IMG-QUALITY"
    text = "The image is not good enough for a reliable answer."
    remedy = "Send a sharper, well-lit picture of what the study looks at."


class ImageNotStained(ImageRefused):
    """The image does not have the colours of a stained smear, for example an X-ray picture."""

    code = "IMG-STAIN"
    text = "This does not look like a stained blood smear."
    remedy = "Send a picture of a stained smear, taken through a microscope."


class ImageForeign(ImageRefused):
    """The image shows something else than the study looks at, for example a page of text or another examination."""

    code = "IMG-FOREIGN"
    text = "This does not look like a picture that this study was made for."
    remedy = "Choose the study that fits the picture, or send another picture."


class DatasetRefused(HemaSealError):
    """A data set folder or its index.csv cannot be used."""

    code = "DAT-INDEX"
    text = "The data set cannot be imported."
    remedy = "Correct index.csv or the files that are named, then import again."


class EvaluationBroken(HemaSealError):
    """The files of an evaluation are not what the commands write."""

    code = "DAT-EVALUATION"
    text = "The results of this evaluation cannot be read."
    remedy = "Order it again; the files in its folder were changed, or are of another version."


class CheckpointRefused(HemaSealError):
    """A checkpoint is damaged, was changed, or belongs to another run or study."""

    code = "MOD-CHECKPOINT"
    text = "The model could not be verified and was not used."
    remedy = "Choose another model or ask the trusted authority to restore it."


class NoModel(HemaSealError):
    """No model of this study is in service."""

    code = "MOD-NONE"
    text = "No model is in service for this study yet."
    remedy = "Ask the trusted authority to promote one."


class NoHospital(HemaSealError):
    """No hospital can take the request now."""

    code = "RTE-NONE"
    text = "No hospital can take the request right now."
    remedy = "Try again in a few minutes, or allow another hospital to take it."


class EnclaveUnavailable(HemaSealError):
    """The hospital's enclave process did not answer."""

    code = "ENC-DOWN"
    text = "The hospital's protected computer did not answer."
    remedy = "Your image is kept safe and will be tried again."


class EnclaveBusy(EnclaveUnavailable):
    """The hospital's enclave process turned the request away: it serves as many as it can at once."""

    code = "ENC-BUSY"
    text = "The hospital's protected computer has more to do than it can take at once."
    remedy = "What was sent is kept safe; wait a moment and try again."


class MeasurementRefused(HemaSealError):
    """An enclave states a measurement that the authority has not approved, or has withdrawn."""

    code = "ENC-MEASURE"
    text = "The hospital's protected computer runs a program that the trusted authority has not approved."
    remedy = "What was sent is kept safe and waits: it is answered once the authority has approved the program."


class MemberRefused(HemaSealError):
    """A member's certificate is revoked, expired or not for this purpose."""

    code = "FED-MEMBER"
    text = "A member's certificate does not allow this."
    remedy = "Ask the trusted authority to renew or replace the certificate."


class RunRefused(HemaSealError):
    """A federated run cannot be started or changed as asked."""

    code = "FED-RUN"
    text = "The federated run cannot be done as asked."
    remedy = "Change what is named and start it again."


class SlotTaken(HemaSealError):
    """Somebody else booked the slot first."""

    code = "APT-TAKEN"
    text = "That time was just taken by somebody else."
    remedy = "Choose another time; the list is fresh now."


class AppointmentRefused(HemaSealError):
    """The appointment cannot be made, changed or cancelled as asked."""

    code = "APT-REFUSED"
    text = "The appointment cannot be changed like this."
    remedy = "Look at your appointments and choose again."


class ReferralRefused(HemaSealError):
    """The case cannot be referred as asked."""

    code = "REF-REFUSED"
    text = "The case was not referred, and nothing was changed."
    remedy = "Open the case again to see how it is now, then choose a hospital."


class ReviewRefused(HemaSealError):
    """A review is incomplete or the case was signed already."""

    code = "REV-REFUSED"
    text = "The review could not be signed."
    remedy = "Complete what is named; a signed review is never changed, write an amendment instead."


class ReportRefused(HemaSealError):
    """No report can be made of the case yet."""

    code = "REP-UNSIGNED"
    text = "There is no report on this case yet."
    remedy = "A report can be made as soon as a doctor has signed what they see."


class RecordDamaged(HemaSealError):
    """A sealed record does not open, or belongs elsewhere: it was changed outside the application."""

    code = "APP-RECORD"
    text = "A stored record was changed outside HemaSeal and is not shown."
    remedy = "Tell your administrator; the audit log and a backup show what it was."


class DataErased(RecordDamaged):
    """The patient's data were erased, or their erasure has begun: nothing of them opens any more, nor is added."""

    code = "APP-ERASED"
    text = "These data were erased, as the patient asked."
    remedy = "They cannot be brought back; a new account starts afresh."


class StorageFailed(HemaSealError):
    """A file of the installation could not be read or written: a full or damaged disk, or missing rights."""

    code = "APP-STORAGE"
    text = "A file could not be read or written, so the work stopped there; what was done stays done."
    remedy = "Make room on the disk or repair it, then go on where it stopped."


class BackupRefused(HemaSealError):
    """A backup cannot be made into this folder, or this one cannot be restored here; nothing here was changed."""

    code = "BAK-REFUSED"
    text = "This backup cannot be used."
    remedy = "See what is named; the installation is as it was."


class AuditLogBroken(HemaSealError):
    """The audit log does not fit its signed head: it was changed from outside, and nothing is appended to it."""

    code = "AUD-BROKEN"
    text = "The audit log was changed from outside."
    remedy = "Nothing was done. The trusted authority must restore the log from a copy before work goes on."


class ClockWrong(HemaSealError):
    """The clock is outside the validity of the key that signs: what it signed now, nobody could verify later."""

    code = "APP-CLOCK"
    text = "This computer's clock is wrong, or the certificate of the program has ended, so nothing was changed."
    remedy = "Ask your administrator to set the clock right; the set-up renews a certificate that has ended."
