package client

import (
	"encoding/binary"

	"sotto/api"
)

// The layout of the store. The first byte says what an item is; ids are raw bytes, numbers are big endian, so that they
// sort. Values are JSON unless noted.
//
//	s name                          one of the settings below
//	l account(16)                   pinned: the highest device list seen of an account
//	h account(16) version(8)        api.SignedList: a list seen of an account, to be given back
//	c conversation(16)              conversation
//	m conversation(16) ^epoch(8) ^seq(8)
//	                                message: ascending keys are descending positions
//	i message(16) conversation(16)  place of a message: the guard against a second delivery
//	q number(8)                     queue entry, in the order of Send
//	f conversation(16) number(8)    queue entry that the server refused for good
//	a entry(8)                      acknowledgement that the server has not confirmed, with its archive record
//	n message(16) conversation(16)  notice: a message that could not be read
//	v account(16) device(1)         told: version of the own list that a device was sent
//	b conversation(16) message(16) account(16)
//	                                owedMark: a message that is not delivered
//	r account(16) device(1)         when the last retry requests of a device were acted on: []int64
//	o slot(1) id(16)                errand: a send to named devices
//	e account(16) device(1)         session, as e2ee.Session.Marshal
//	t account(16) device(1)         newest prekey statement seen of a device
//	k kind(1) id(4)                 private prekey, as Marshal of its type
//	u kyber(4) signed(4) base(33)   a handshake with a last-resort prekey that was answered: empty
//	d name                          stateItem: a piece of account state
//	w name                          a piece of account state that the server does not have yet: true
//	y account(16)                   a peer that other own devices know better: its lists are to be fetched: true
//	g conversation(16) sender(16) message(16)
//	                                overlay: what later messages have made of a message
//	p time(8) conversation(16) message(16)
//	                                a message that expires at that time: true
//	j conversation(16) message(16)  an archive record to erase: whether for all
//	A hash(32)                      pendingAsset: what an upload seals this plaintext with
//	U hash(32)                      when an asset of this account fell out of use: milliseconds
//	B account(16)                   hash(32) and bytes of the picture that an account shows, as it was last read
//	x                               the application's own
const (
	prefixSetting      = 's'
	prefixList         = 'l'
	prefixChain        = 'h'
	prefixConversation = 'c'
	prefixMessage      = 'm'
	prefixPlace        = 'i'
	prefixQueue        = 'q'
	prefixFailed       = 'f'
	prefixAck          = 'a'
	prefixNotice       = 'n'
	prefixErrand       = 'o'
	prefixRetries      = 'r'
	prefixTold         = 'v'
	prefixOwed         = 'b'
	prefixSession      = 'e'
	prefixStatement    = 't'
	prefixPreKey       = 'k'
	prefixKyberUsed    = 'u'
	prefixState        = 'd'
	prefixUnwritten    = 'w'
	prefixUnmet        = 'y'
	prefixOverlay      = 'g'
	prefixExpiry       = 'p'
	prefixErasure      = 'j'
	prefixAsset        = 'A'
	prefixUnused       = 'U'
	prefixPicture      = 'B'
	prefixApplication  = 'x'
)

// Kinds of prekeys within prefixPreKey.
const (
	preKeyOneTime = 'o'
	preKeySigned  = 's'
	preKeyKyber   = 'k'
)

// Settings.
var (
	keyDevice     = []byte("sdevice")     // device
	keyLogin      = []byte("slogin")      // login
	keyVault      = []byte("svault")      // vault
	keyGeneration = []byte("sgeneration") // uint64
	keyPreKeys    = []byte("sprekeys")    // preKeyState
	keyQueue      = []byte("squeue")      // queueState
	keyCounters   = []byte("scounters")   // Counters
	keyServer     = []byte("sserver")     // serverState
	keyErrands    = []byte("serrands")    // int: how many wait
	keyStateSync  = []byte("sstate")      // stateSync
	keyProposals  = []byte("sproposals")  // []proposal: changes of the bundle whose outcome is unknown
	keyRecovery   = []byte("srecovery")   // recoveryState
	keyChoice     = []byte("schoice")     // api.ChatSettings, as last told by the server
	keyArchive    = []byte("sarchive")    // archiveState
)

func keyList(a api.AccountID) []byte { return append([]byte{prefixList}, a[:]...) }

func keyOverlay(c api.ConversationID, sender [16]byte, m api.MessageID) []byte {
	return append(append(append([]byte{prefixOverlay}, c[:]...), sender[:]...), m[:]...)
}

func keyExpiry(at int64, c api.ConversationID, m api.MessageID) []byte {
	b := binary.BigEndian.AppendUint64([]byte{prefixExpiry}, uint64(at))
	return append(append(b, c[:]...), m[:]...)
}

func keyErasure(c api.ConversationID, m api.MessageID) []byte {
	return append(append([]byte{prefixErasure}, c[:]...), m[:]...)
}

func keyState(name string) []byte { return append([]byte{prefixState}, name...) }

func keyUnwritten(name string) []byte { return append([]byte{prefixUnwritten}, name...) }

func keyUnmet(a api.AccountID) []byte { return append([]byte{prefixUnmet}, a[:]...) }

func keyAsset(plaintext [32]byte) []byte { return append([]byte{prefixAsset}, plaintext[:]...) }

func keyUnused(asset []byte) []byte { return append([]byte{prefixUnused}, asset...) }

func keyPicture(a api.AccountID) []byte { return append([]byte{prefixPicture}, a[:]...) }

func keyConversation(id api.ConversationID) []byte {
	return append([]byte{prefixConversation}, id[:]...)
}

func keyMessages(id api.ConversationID) []byte { return append([]byte{prefixMessage}, id[:]...) }

func keyMessage(id api.ConversationID, p Position) []byte {
	b := binary.BigEndian.AppendUint64(keyMessages(id), ^p.Epoch)
	return binary.BigEndian.AppendUint64(b, ^p.Seq)
}

func keyPlaces(m api.MessageID) []byte { return append([]byte{prefixPlace}, m[:]...) }

func keyPlace(c api.ConversationID, m api.MessageID) []byte { return append(keyPlaces(m), c[:]...) }

// placeConversation reads the conversation out of the key of a place.
func placeConversation(key []byte) api.ConversationID { return api.ConversationID(key[len(key)-16:]) }

func keyQueueEntry(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixQueue}, number)
}

func keyFailures(id api.ConversationID) []byte { return append([]byte{prefixFailed}, id[:]...) }

func keyFailure(id api.ConversationID, number uint64) []byte {
	return binary.BigEndian.AppendUint64(keyFailures(id), number)
}

func keyAck(entry int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixAck}, uint64(entry))
}

func keyNotice(c api.ConversationID, m api.MessageID) []byte {
	return append(append([]byte{prefixNotice}, m[:]...), c[:]...)
}

func keyTold(d api.DeviceRef) []byte {
	return append(append([]byte{prefixTold}, d.AccountID[:]...), byte(d.DeviceID))
}

func keyOwedOf(id api.ConversationID) []byte { return append([]byte{prefixOwed}, id[:]...) }

func keyOwed(c api.ConversationID, m api.MessageID, a api.AccountID) []byte {
	return append(append(keyOwedOf(c), m[:]...), a[:]...)
}

func splitOwed(key []byte) (api.ConversationID, api.MessageID, api.AccountID) {
	return api.ConversationID(key[1:17]), api.MessageID(key[17:33]), api.AccountID(key[33:49])
}

func keyRetries(d api.DeviceRef) []byte {
	return append(append([]byte{prefixRetries}, d.AccountID[:]...), byte(d.DeviceID))
}

func keyErrand(s slot, id [16]byte) []byte {
	return append([]byte{prefixErrand, byte(s)}, id[:]...)
}

func keySession(a api.AccountID, d api.WireDeviceID) []byte {
	return append(append([]byte{prefixSession}, a[:]...), byte(d))
}

func keyStatement(a api.AccountID, d api.WireDeviceID) []byte {
	return append(append([]byte{prefixStatement}, a[:]...), byte(d))
}

func keyPreKey(kind byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixPreKey, kind}, id)
}

func keyKyberUsed(kyber, signed uint32, base [33]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{prefixKyberUsed}, kyber)
	return append(binary.BigEndian.AppendUint32(b, signed), base[:]...)
}
