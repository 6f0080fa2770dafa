"""The screens of `top`. Frozen snapshots in, lines of styled text out; only app, grid and the screens need textual."""
