package socketio

// PollWaits tells whether a poll of the session waits, which no client can see.
func (s *Server) PollWaits(sid string) bool {
	one := s.lookup(sid)
	if one == nil {
		return false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.wake != nil
}

// Sessions is the number of sessions in the map, lingering ones included.
func (s *Server) Sessions() int { return len(s.all()) }

// Timers is the number of timers scheduled.
func (s *Server) Timers() int { return s.wheel.waiting() }
