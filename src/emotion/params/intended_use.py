"""What a model is for, in the categories of the EU AI Act (Regulation (EU) 2024/1689)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from emotion.params.validation import Section

Text = Annotated[str, Field(min_length=10, max_length=600)]
LAW = {  # what the regulation says about recognizing emotions in each area
    "research": "research and development: not covered (Art. 2(6)), until people are exposed to it",
    "personal": "personal, non-professional use: no duties of a deployer (Art. 2(10))",
    "other": "high-risk (Annex III 1(c)); the people exposed to it must be informed (Art. 50(3))",
    "workplace": "prohibited except for medical or safety reasons (Art. 5(1)(f))",
    "education": "prohibited except for medical or safety reasons (Art. 5(1)(f))",
}
PROHIBITED = ("workplace", "education")


class IntendedUse(Section):
    """Who a model is for, and where it must not be used."""

    area: Literal["research", "personal", "other", "workplace", "education"]
    purpose: Text  # who it is for, and what for
    not_for: Text  # where it must not be used
    # workplace, education: the reason that permits it, such as "safety: drivers who fall asleep"
    exception: Annotated[str, Field(pattern=r"^(medical|safety): .{10,}", max_length=600)] | None = None

    @model_validator(mode="after")
    def _has_a_reason_where_the_law_asks_for_one(self) -> "IntendedUse":
        if self.area in PROHIBITED and self.exception is None:
            raise ValueError(
                f"the area {self.area} is {LAW[self.area]} of Regulation (EU) 2024/1689. Give that reason as"
                " `exception: 'medical: ...'` or `exception: 'safety: ...'`, or choose the area research, personal or"
                " other"
            )
        if self.area not in PROHIBITED and self.exception is not None:
            raise ValueError(
                f"exception is only for the areas {' and '.join(PROHIBITED)}, not for {self.area}. Set it to null"
            )
        return self

    def tags(self) -> dict[str, str]:
        """The tags of a version: use.area, use.purpose, use.not_for, use.law, and use.exception if there is one."""
        return {
            "use.area": self.area,
            "use.purpose": self.purpose,
            "use.not_for": self.not_for,
            "use.law": LAW[self.area],
            "use.exception": self.exception or "",
        }
