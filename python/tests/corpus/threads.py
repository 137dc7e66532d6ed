"""Threads drive several machines, and one machine, at once."""
# machines: one two
import concurrent.futures
import threading

start_all()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    futures = [
        pool.submit(target.succeed, f"sleep 0.2; echo {target.name} {number}")
        for number in range(8)
        for target in (one, two)
    ]
    results = sorted(future.result() for future in futures)
t.assertEqual(len(set(results)), 16)

# A wait in one thread does not hold up commands of another.
ready = threading.Thread(target=one.wait_for_file, args=("/tmp/corpus-go",))
ready.start()
t.assertEqual(one.succeed("echo still here"), "still here\n")
one.succeed("touch /tmp/corpus-go")
ready.join()

failures: list[str] = []


def fails() -> None:
    try:
        two.succeed("false")
    except Exception as error:
        failures.append(str(error))


workers = [threading.Thread(target=fails) for _ in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
t.assertEqual(failures, ["command `false` failed (exit code 1)"] * 4)
