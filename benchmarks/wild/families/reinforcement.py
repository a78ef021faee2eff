"""Reinforcement learning on a game of catch whose values are known: Q-learning and actor-critic."""

import keras
import numpy as np
from keras import layers, ops

from wild.data import catch
from wild.registry import wild


def _moves(rng, size=64):
    """Draw a state and an action, its reward, the next state and whether the game ends; the true values."""
    images, values = catch()
    row, ball, paddle = rng.integers(0, 7, size), rng.integers(0, 8, size), rng.integers(0, 8, size)
    action = rng.integers(0, 3, size)
    moved = np.clip(paddle + action - 1, 0, 7)
    ends = row == 6
    reward = np.where(ends, np.where(moved == ball, 1.0, -1.0), 0.0)
    y = {
        "action": action,
        "reward": reward.astype("float32"),
        "next": images[row + 1, ball, moved],
        "goes_on": (~ends).astype("float32"),
        "values": values[row, ball, paddle],
    }
    return images[row, ball, paddle], y


class QLearner(keras.Model):
    """Q-learning with the Huber loss; the measure is the squared error of the true values."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.error = keras.metrics.Mean("value_error")

    def call(self, x):
        return self.network(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        target = y["reward"] + 0.95 * y["goes_on"] * ops.max(self.network(y["next"]), axis=1)
        taken = ops.sum(y_pred * ops.one_hot(y["action"], 3), axis=1)
        self.error.update_state(ops.mean((y_pred - y["values"]) ** 2))
        return ops.mean(keras.losses.huber(ops.stop_gradient(target)[:, None], taken[:, None]))


@wild(
    "DQN", "Mnih 2013; keras.io/examples/rl/deep_q_network_breakout", _moves, measure="value_error",
    parts=lambda model, x, y: [(model.network, x, None)],
)  # fmt: skip
def dqn():
    """Build the convolutional network of values, its own target as in 2013, for clipped Adam."""
    network = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(16, 4, strides=2, activation="relu"),
            layers.Conv2D(32, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3),
        ]
    )
    model = QLearner(network)
    model.compile(keras.optimizers.Adam(2.5e-4, clipnorm=1.0), jit_compile=False)
    return model


class ActorCritic(keras.Model):
    """Policy gradient on the returns of sampled actions; the measure is the regret of the policy."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.regret = keras.metrics.Mean("regret")
        self.random = keras.random.SeedGenerator(1)

    def call(self, x):
        return self.network(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        policy, value = y_pred
        log_policy = ops.log(policy + 1e-8)
        action = keras.random.categorical(log_policy, 1, seed=self.random)
        chosen = ops.one_hot(ops.reshape(action, (-1,)), 3)
        earned = ops.sum(chosen * y["values"], axis=1)
        advantage = ops.stop_gradient(earned - value[:, 0])
        self.regret.update_state(
            ops.mean(ops.max(y["values"], axis=1) - ops.sum(policy * y["values"], axis=1))
        )
        actor = -ops.mean(ops.sum(chosen * log_policy, axis=1) * advantage)
        return actor + ops.mean(keras.losses.huber(earned[:, None], value))


@wild(
    "actor-critic", "Konda 2000; keras.io/examples/rl/actor_critic_cartpole", _moves, measure="regret",
    parts=lambda model, x, y: [(model.network, x, None)],
)  # fmt: skip
def actor_critic():
    """Build the tutorial's shared layer with a softmax of actions and a value, for Adam at 0.01."""
    inputs = keras.Input((8, 8, 2))
    x = layers.Dense(128, activation="relu")(layers.Flatten()(inputs))
    model = ActorCritic(keras.Model(inputs, [layers.Dense(3, activation="softmax")(x), layers.Dense(1)(x)]))
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return model
