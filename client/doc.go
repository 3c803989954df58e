// Package client is the SDK of Sotto: one device of one account, for terminals, bots, tests and, compiled to
// WebAssembly, the browser.
//
//	store, err := sqlitestore.Open("/home/ada/.sotto/store")
//	c, err := client.Open(client.Options{Server: "https://chat.example.org", Store: store})
//	code, err := c.Register(ctx, client.RegisterOptions{Username: "ada", Password: password}) // or c.Login
//	go c.Run(ctx)                                      // connects, and stays connected
//	talk, err := c.Conversation(ctx, "bob")
//	id, err := c.Send(ctx, talk.ID, e2ee.TextBody("hello"))
//	position, err := c.WaitSent(ctx, id)
//
// # What it promises
//
// A message whose Send returned is in the store, and is sent once and in order however often the process dies. A
// message that arrived is in the store before it is acknowledged, and is shown once. Order is that of positions, the
// same on every device. What the server shows of other devices counts only as far as the account's signed device lists
// bear it out; everything else is refused, counted ([Counters]) and announced ([EventAlert], [EventNotice]).
//
// # State
//
// All state is in the [Store], and is read from there when it is needed; memory holds what one connection needs. Each
// step of the protocol ends in one Apply that moves ratchet sessions, queue and history together: before it nothing
// has happened, after it everything. keys.go has the layout. When an Apply fails, nobody knows which of the two it is,
// so the client stops with CodeStore; opening the store again tells.
//
// # Concurrency
//
// One mutex makes every read-modify-write of the store one step. It is never held during network I/O or while a
// password is stretched. While connected, one goroutine reads the socket and one does each kind of work: it empties the
// queue, takes messages, acknowledges, runs errands, and so on (Client.connect names them). Each send in flight has one
// more that waits for its reply. They end with the connection.
//
// # Crash windows of a send
//
// Send stores id, content and franking key. The sending goroutine encrypts, stores sessions and the try, and only then
// writes the try. If the process dies before that Apply, the content is encrypted later with the same session keys,
// which nobody has seen; after it, the very bytes of the try go out again, and the server answers as if for the first
// time. Only when the server has definitely refused a try is another one made, under the same message id and
// commitment.
//
// # Errands and repair
//
// An errand is a send to named devices: a silent content, or a supplement, which is more envelopes for a message that is
// stored already. Errands have the crash windows of a send, go out one by one and hold up nobody. What does not decrypt
// stays in the mailbox and is asked for again (retry.go), what every device of a recipient has lost is supplemented
// (owed.go), and a device that goes by an old list of this account is sent the new one (listupdate.go): each of these
// adds errands in the very Apply that takes the cause.
package client
