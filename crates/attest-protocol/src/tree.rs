//! Files and directories as tar streams.
