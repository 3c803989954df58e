package user_test

import (
	"testing"

	"sotto/internal/sqldb/sqldbtest"
)

// TestMain leaves to `make soak` what takes many bcrypts and little of the engine.
func TestMain(m *testing.M) {
	sqldbtest.Main(m, "TestAttemptsAreTheServersOwnAndShort", "TestCommitThatFailsLeavesAllOrNothing", "TestDeviceSignsInAgain",
		"TestEmailCodeExpires", "TestEmailOfUnknownOutcome", "TestEmailRefuses", "TestForgottenPassword",
		"TestGuessesAreLimitedByNameKnownOrNot", "TestLoginGivesWhatANewDeviceNeeds", "TestLongChainsComeInParts", "TestLookup",
		"TestSecondAndThirdDeviceByPassword", "TestSignInByEmail", "TestUnknownNamesLookLikeKnownOnes")
}
