"""What workers find in their environment, and who decides it."""

from shardline.cluster.worker_environment import worker_environment


def test_worker_environment_user_setting_wins() -> None:
    chosen = worker_environment({"TF_CPP_MIN_LOG_LEVEL": "0", "HOME": "a folder"})
    assert chosen["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert chosen["KERAS_BACKEND"] == "tensorflow"
    assert "HOME" not in chosen


def test_worker_environment_numerical_settings_follow_the_driver() -> None:
    assert "TF_ENABLE_ONEDNN_OPTS" not in worker_environment({})
    assert worker_environment({"TF_ENABLE_ONEDNN_OPTS": "0"})["TF_ENABLE_ONEDNN_OPTS"] == "0"


def test_worker_environment_secrets_stay_behind() -> None:
    given = {"AWS_SECRET_ACCESS_KEY": "hidden", "RAY_AUTH_TOKEN": "hidden"}
    assert "hidden" not in worker_environment(given).values()
